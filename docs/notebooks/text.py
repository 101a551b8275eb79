# %% [markdown]
# # Text: a language model of characters
#
# The texts are those of Python's own help, which every installation has.

# %%
from pathlib import Path
from pydoc_data.topics import topics

text = "\n\n".join(topics[name] for name in sorted(topics))[:400_000]
Path("help.txt").write_text(text)
print(f"{len(text):,} characters\n\n{text[2000:2300]}")

# %%
import dlzoo

run = dlzoo.train(
    "model=char_rnn",
    "data=text_file",
    data={"path": "help.txt", "num_steps": 64, "batch_size": 32},
    net={"num_units": 128},
    optimizer={"lr": 0.004},
    trainer={"max_epochs": 3},
)

# %% [markdown]
# Perplexity is the number of characters among which the net hesitates, on average.
#
# ## Sampling
#
# At temperature 0 the most likely character is always taken, which soon repeats itself; at 1 characters are drawn as the
# net predicts them.

# %%
for temperature in (0.0, 0.5, 1.0):
    print(f"--- temperature {temperature}")
    print(run.model.generate("The class ", length=200, temperature=temperature, seed=1))

# %% [markdown]
# ## Exercises
#
# 1. Train for ten epochs. What does the net get right first: letters, words, or indented lines?
# 2. Replace the file by a book that you know well.
