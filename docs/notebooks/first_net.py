# %% [markdown]
# # A first net
#
# A run has three parts: a model, data and a number of epochs. `dlzoo.train` composes them as the command
# `dlzoo train model=mlp data=digits trainer.max_epochs=15` does, trains, tests the best checkpoint once, and returns the
# run. The digits are the 1,797 scans of 8x8 pixels that come with scikit-learn, so nothing is downloaded.

# %%
import dlzoo

run = dlzoo.train("model=mlp", "data=digits", trainer={"max_epochs": 15})
run

# %% [markdown]
# The metrics of the test are a dict, those of each epoch a DataFrame, and everything that the run has drawn can be opened
# by name.

# %%
run.metrics["test/accuracy"]

# %%
run.history.tail(3)

# %%
run.pictures

# %%
run.pictures["predictions"]

# %% [markdown]
# ## Predicting
#
# The model of a run takes arrays, tensors, PIL images, paths and folders; images of another size are brought to that of the
# training.

# %%
from sklearn.datasets import load_digits

images = (load_digits().images[:4] / 16 * 255).astype("uint8")
run.model.predict(images, top_k=2)

# %% [markdown]
# ## Changing something
#
# Any option of a part is set by its name, as an argument of its class. A name that does not exist is a sentence, not a
# traceback.

# %%
wide = dlzoo.train(
    "model=mlp",
    "data=digits",
    net={"hidden": [256, 256]},
    optimizer={"lr": 0.003},
    trainer={"max_epochs": 15},
    quiet=True,
)
dlzoo.compare([run, wide])

# %%
try:
    dlzoo.train("model=mlp", "data=digits", net={"hiden": [64]})
except dlzoo.UserError as mistake:
    print(mistake)

# %% [markdown]
# ## Exercises
#
# 1. Set `seed=1` and `seed=2`. How far apart are the accuracies? A difference between two models should be larger than that.
# 2. Replace the model by `softmax`, which has no hidden layer, and by `lenet`.
# 3. `dlzoo.models()` lists all models and what they take. Which of them fit `data=wine`?
