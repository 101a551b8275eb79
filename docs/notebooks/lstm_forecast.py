# %% [markdown]
# # Forecasting a series with an LSTM
#
# Monthly airline passengers from 1949 to 1960 (G. Box, G. Jenkins, 1970). The last two years are set aside, one for
# validation and one for the test; the net is never fitted on them.

# %%
import dlzoo

run = dlzoo.train("experiment=lstm_air_passengers", quiet=True)
run

# %% [markdown]
# The seasonal naive forecast, "as a year ago, with the growth of the last year", is the rival that every forecaster should
# meet first. Exponential smoothing (Holt-Winters) is hard to beat with 144 numbers.

# %%
run.pictures["forecast"]

# %% [markdown]
# ## The next year
#
# Without an argument the whole series of the run is continued; otherwise give a pandas Series with its times as index.

# %%
run.model.forecast(horizon=6)

# %%
import numpy as np
import pandas as pd

times = pd.date_range("2020-01-01", periods=60, freq="MS")
season = 100 + 10 * np.sin(2 * np.pi * np.arange(60) / 12)
run.model.forecast(pd.Series(season, index=times), horizon=3)

# %% [markdown]
# ## Exercises
#
# 1. Run five seeds. Is the net better than exponential smoothing for all of them?
# 2. `data.drop_last=12` forecasts 1959 instead. Does the order of the methods hold?
