"""Deployments: containers described once, run as gears on one or many hosts, linked with each other.

A descriptor says what there shall be; the gears carry the deployment's name as a label; the instances file beside
the descriptor says where each was put. Planning is pure, and only an execution changes anything.
"""
