"""Bybit v5, spoken: parsing at the edge, signed REST under a budget, streams that recover, orders that are never lost nor doubled."""
