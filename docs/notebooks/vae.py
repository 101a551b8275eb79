# %% [markdown]
# # The latent space of a variational autoencoder
#
# D. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014. The encoder gives a normal distribution over latents for
# each image, the decoder an image for each latent; the loss is the reconstruction error plus the divergence of that
# distribution from the prior.

# %%
import dlzoo

run = dlzoo.train("model=vae", "data=digits", net={"latent_dim": 2}, trainer={"max_epochs": 60}, quiet=True)
run

# %% [markdown]
# With two dimensions the latent space can be drawn: what the decoder makes of each point of a grid, and where the test
# images lie.

# %%
run.pictures["manifold"]

# %%
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

digits = load_digits()
codes = run.model.encode((digits.images / 16 * 255).astype("uint8"))

plt.figure(figsize=(6, 5))
plt.scatter(*codes.T, c=digits.target, cmap="tab10", s=6)
plt.colorbar(label="digit")
plt.xlabel("z[0]")
plt.ylabel("z[1]")
plt.show()
# %% [markdown]
# ## New images, and a walk between two of them

# %%
run.model.sample(24, seed=1)

# %%
import torch

encoder = run.model.task.as_encoder()
ends = torch.from_numpy(codes[[0, 1]])
steps = torch.linspace(0, 1, 12)[:, None]
with torch.inference_mode():
    walk = encoder.decode(ends[0] + steps * (ends[1] - ends[0]))
dlzoo.Images(walk)

# %% [markdown]
# ## Exercises
#
# 1. Raise `task.beta` to 4, and lower it to 0.1. What happens to the samples, and what to the reconstructions?
# 2. With `net.latent_dim=16`: is the test loss better? Are the samples?
