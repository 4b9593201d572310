"""A small reference rights service: does what the ledger commands and answers, faults at will."""
