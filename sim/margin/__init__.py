"""Margin and money: isolated, cross and spot settlement, liquidation, funding, the ledger."""
