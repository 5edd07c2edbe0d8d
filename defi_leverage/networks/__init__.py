"""Loss networks: clearing and distress, common holdings sold in haste, and who supplied what turned bad."""
