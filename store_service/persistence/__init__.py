"""Where the store keeps things: engines, models, the writer and the migrations. The only place that knows SQL."""
