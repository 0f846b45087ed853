// Owns the precompiled header of all rooms.
