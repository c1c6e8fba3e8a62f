"""The demo city: a synthetic bus city modelled on Lanzhou, made by code, the same for the same seed.

    names.py      places with their names          streets.py   the street graph and the river
    plan.py       lines, stops, patterns           timetable.py trips, blocks, duties
    feed.py       the plan as a GTFS zip           roads.py     how fast the streets are; signals; scenarios
    motion.py     how a bus drives                 traffic.py   buses that move, truth.py what is known of them
    gps.py        what receivers see               record.py    a recorded day for tests
    terminal.py   one JT/T 808 terminal, sans I/O  fleet.py     terminals over TCP
    demo.py       everything together: `busd demo` dice.py      chance as functions

The street names are real, the rest (positions to within some hundred metres, lines, timetable) is invented: nothing here
describes what the buses of Lanzhou really do, and everything shown of it is labelled simulated.
"""
