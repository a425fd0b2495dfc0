"""What a file that snnconv exports is: metadata, names, contract, constants, structure. Exporters write it, engines read it."""
