# %% [markdown]
# # An agent that learns by trial: Q-learning and DQN
#
# First a table of action values on a frozen lake of 16 places, then a net in its place for a pole on a cart, where the
# states are four numbers (V. Mnih et al., "Human-level control through deep reinforcement learning", 2015).

# %%
import dlzoo

table = dlzoo.train("experiment=q_table_frozenlake", quiet=True)
table.metrics["test/return"]

# %% [markdown]
# The lake is slippery: even the best policy reaches the goal in 74 of 100 episodes only.

# %%
table.model.play(episodes=5, seed=1)

# %%
cart = dlzoo.train("experiment=dqn_cartpole", quiet=True)
cart

# %%
cart.pictures["returns"]

# %%
from IPython.display import Image

cart.model.play(episodes=1, video="cart.gif")
Image("cart.gif")

# %% [markdown]
# ## Exercises
#
# 1. Does each seed reach 500, the longest episode that the environment allows? Try `seed=1` to `4`.
# 2. Leave out the target network, `task.target_update_interval=1`. What do the returns do?
