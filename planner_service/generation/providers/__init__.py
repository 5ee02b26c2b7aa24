"""How models are reached: provider table, HTTP, circuit breakers, recording and replay of exchanges."""
