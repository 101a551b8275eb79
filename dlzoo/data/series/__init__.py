"""Time series: windows of the past, and the values that follow."""
