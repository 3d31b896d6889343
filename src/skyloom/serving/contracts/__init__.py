"""The languages that serving speaks, one file each: requests become rows, predictions become answers."""
