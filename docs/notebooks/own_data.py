# %% [markdown]
# # Your own data
#
# Two kinds are shown here: a table in a CSV file, and a folder with pictures. First we write both to the disk, as you have
# them already.

# %%
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_diabetes, load_digits

Path("photos").mkdir(exist_ok=True)
digits = load_digits()
for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = Path("photos") / ("even" if label % 2 == 0 else "odd")
    folder.mkdir(exist_ok=True)
    Image.fromarray((pixels / 16 * 255).astype("uint8")).save(folder / f"{i}.png")

load_diabetes(as_frame=True, scaled=False).frame.to_csv("diabetes.csv", index=False)

# %% [markdown]
# ## A table
#
# The reader says what it takes the columns for. Beside the net stand the rivals: the mean, linear regression and gradient
# boosting on the same rows. With 442 patients a small net with weight decay does about as well as the linear model, and no
# better.

# %%
import dlzoo

table = dlzoo.train(
    "model=mlp",
    "data=csv",
    "optimizer=adamw",
    data={"path": "diabetes.csv", "target": "target"},
    net={"hidden": [32], "dropout": 0.2},
    optimizer={"lr": 0.01, "weight_decay": 0.1},
    trainer={"max_epochs": 60},
)

# %%
table.pictures["predicted_against_true"]

# %%
import pandas as pd

rows = pd.read_csv("diabetes.csv").head(3)
table.model.predict(rows).assign(true=rows["target"].to_list())

# %% [markdown]
# ## A folder of pictures
#
# Each subfolder is a class. Rows for validation and test are set aside by class, with a seed.

# %%
pictures = dlzoo.train("model=cnn", "data=image_folder", data={"path": "photos", "size": 16}, trainer={"max_epochs": 6})

# %%
pictures.model.predict(["photos/even/0.png", "photos/odd/1.png"])

# %%
pictures.pictures["confusion_matrix"]

# %% [markdown]
# ## Exercises
#
# 1. Leave out `data.target`. What does the sentence ask for?
# 2. Write `unknown` into a cell of a column of numbers. What happens, and which option makes it a missing value?
# 3. Put your own pictures into two folders, and train on them.
