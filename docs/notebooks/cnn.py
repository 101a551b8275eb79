# %% [markdown]
# # A convolutional net, and what it sees
#
# LeNet-5 (Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998) on the digits of scikit-learn.

# %%
import dlzoo

run = dlzoo.train("model=lenet", "data=digits", trainer={"max_epochs": 12})

# %% [markdown]
# Where does it see the evidence for a class? Grad-CAM weights the feature maps of a layer by the gradient of the class's
# score, and shows where their sum is large.

# %%
from sklearn.datasets import load_digits

images = (load_digits().images[:3] / 16 * 255).astype("uint8")
run.model.explain(images, top_k=2)

# %% [markdown]
# The net is an ordinary `nn.Module`: the kernels of its first layer are a tensor.

# %%
import torch
from torch import nn

first = next(layer for layer in run.model.net.modules() if isinstance(layer, nn.Conv2d))
kernels = first.weight.detach()
kernels = (kernels - kernels.amin()) / (kernels.amax() - kernels.amin())
dlzoo.Images(kernels)

# %% [markdown]
# ## How much do shifts matter?
#
# An MLP sees each pixel as another feature, a convolutional net sees the same pattern at any place. Move the test digits
# by one pixel, and compare.

# %%
mlp = dlzoo.train("model=mlp", "data=digits", trainer={"max_epochs": 12}, quiet=True)
pixels = (load_digits().images / 16 * 255).astype("uint8")
labels = load_digits().target.astype(str)
shifted = torch.from_numpy(pixels).roll(1, dims=2).numpy()
for name, model in (("LeNet", run.model), ("MLP", mlp.model)):
    for what, x in (("as trained", pixels), ("shifted", shifted)):
        print(f"{name:6} {what:10} {(model.predict(x)['class'] == labels).mean():.1%}")

# %% [markdown]
# ## Exercises
#
# 1. Train with `augment=crop_flip`. Which of its transforms makes no sense for digits?
# 2. Explain another layer: `run.model.explain(images, layer=…)`; a wrong name lists those that there are.
