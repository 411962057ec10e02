"""How fast geard is, measured on a real host, with what else one would use beside it in the same run.

`scripts/bench` boots a host of a lab of its own, sends `bench.inside` into it and judges what comes back by the
budgets in `judge`. Absolute times depend on the machine and its neighbours; a ratio of one run much less. So
`--short`, which CI runs, fails on ratios only, with slack, and on what must never be: a lost gear, a port given
twice.

    measuring   what is measured, in which order, with how many gears
    parts       runs one thing in a host, gathers what it found
    linking     far ends of links, on the lab's network outside of all hosts
    deploying   the same gears on three hosts, by `gear deploy` and by a shell loop
    inside      runs in the host, standard library only: one part for each thing that is measured
    findings    what a part brings back: samples and facts
    judge       from findings to rows, each with its budget and verdict; pure
    results     rows as a table, and RESULTS.md; pure
    performance docs/PERFORMANCE.md; pure
    plot        docs/performance.svg; pure
    machine     what it was measured on
"""
