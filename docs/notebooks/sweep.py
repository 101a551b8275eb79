# %% [markdown]
# # Searching hyperparameters
#
# A grid tries every combination, with seeds as repetitions; a search draws from intervals. Both keep a record in a folder,
# and go on where they stopped if they are called again.

# %%
import dlzoo

few = {"max_epochs": 5}
grid = dlzoo.search(
    "data=digits",
    space={"model": ["softmax", "mlp", "lenet"], "seed": [0, 1]},
    sampler="grid",
    trainer=few,
    logger="none",
)
grid

# %% [markdown]
# The ranking is by validation; the test is read for the table, and decides nothing.

# %%
grid.best

# %%
found = dlzoo.search(
    "model=mlp",
    "data=digits",
    space={"optimizer.lr": (1e-4, 1e-1), "net.hidden": [[32], [128], [128, 128]]},
    trials=8,
    sampler="random",
    trainer=few,
    logger="none",
)
found.trials.head()

# %% [markdown]
# The best trial of a search is trained again and tested: only this one reads the test.

# %%
found.run

# %% [markdown]
# ## Exercises
#
# 1. Use `sampler="tpe"`, which learns from the trials so far, and `sampler="hyperband"`, which stops poor ones early.
#    Compare the seconds.
# 2. Is the winner better than the second by more than the spread over seeds?
