"""What gears may use and do use: limits changed while they run, use against limit.

The limits themselves are part of a gear's definition (`containers`); here they are changed alone, and looked at.
"""
