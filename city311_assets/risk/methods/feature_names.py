"""What a model of risk reads: the columns of `risk.cell_days`, and the words for them.

What belongs here: names, groups, and which way a feature may only push. What does not: how a
feature is computed.
"""

# In readable groups: a driver is a group, and its effect the sum of its columns' effects.
GROUPS: dict[str, tuple[str, ...]] = {
    "recent calls here": (
        "calls_7d",
        "calls_14d",
        "calls_30d",
        "calls_90d",
        "decay_7d",
        "decay_30d",
        "days_since_last",
    ),
    "calls here over the years": (
        "calls_365d",
        "long_run_rate",
        "parent_rate",
        "same_weeks_last_year",
    ),
    "calls next door": ("ring1_calls_30d", "ring2_calls_30d", "ring1_calls_365d"),
    "how much people call here": ("all_calls_30d", "all_calls_365d"),
    "season": ("season_sin", "season_cos", "weekday"),
    "cold and thaw": (
        "temperature_min_c",
        "temperature_max_c",
        "temperature_drop_c",
        "is_freeze",
        "is_freeze_thaw",
        "freeze_thaw_days_7d",
        "freezing_degree_days_14d",
    ),
    "rain": ("is_heavy_rain", "rain_3d_mm", "rain_7d_mm"),
}
FEATURES: tuple[str, ...] = tuple(name for group in GROUPS.values() for name in group)
# More calls lately never lower a risk.
INCREASING = (
    *("calls_7d", "calls_14d", "calls_30d", "calls_90d", "calls_365d"),
    *("decay_7d", "decay_30d", "long_run_rate"),
)
