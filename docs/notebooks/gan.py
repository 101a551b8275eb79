# %% [markdown]
# # A generative adversarial net
#
# I. Goodfellow et al., "Generative Adversarial Nets", 2014. A generator turns noise into images, a discriminator tells them
# from real ones, and each is trained against the other.

# %%
import dlzoo

run = dlzoo.train("model=gan", "data=digits", trainer={"max_epochs": 80}, quiet=True)

# %% [markdown]
# The losses say little about the quality: they measure a contest. Look at the samples instead, epoch by epoch.

# %%
run.plot()

# %%
run.model.sample(36, seed=2)

# %%
run.pictures

# %% [markdown]
# ## Does it copy the training images?
#
# The nearest training image of each sample tells. If they were the same, the generator would only remember.

# %%
import numpy as np
import torch
from sklearn.datasets import load_digits

real = torch.from_numpy(load_digits().images / 16).float().flatten(1)
samples = torch.from_numpy(np.asarray(run.model.sample(8, seed=3))).flatten(1)
nearest = real[torch.cdist(samples, real).argmin(1)]
dlzoo.Images(torch.cat([samples, nearest]).reshape(-1, 1, 8, 8))

# %% [markdown]
# The first row holds samples, the second their nearest training images.
#
# ## Exercises
#
# 1. Train with twice the learning rate. How does the contest end?
# 2. `model=cgan` is told the class: `run.model.sample(10, label="7")`.
