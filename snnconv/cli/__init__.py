"""The command line of snnconv: parse, call one function of snnconv, render."""
