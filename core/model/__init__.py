"""What everything speaks of: messages, instruments, money, orders, positions, trades, time, columns."""
