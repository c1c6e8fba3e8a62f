"""JT/T 808 (2011, 2013, 2019): the terminals of Chinese buses, over TCP.

frame.py splits and builds frames, message.py and terminal.py read and write bodies, packets.py joins sub-packets,
reports.py turns fixes into positions, session.py is the platform's side of one connection, describe.py explains a frame
to people. None of them does I/O; busd/feeds/transport.py moves the bytes.
"""
