"""The commands of trading: demo, live, the sandbox, sessions, panic."""
