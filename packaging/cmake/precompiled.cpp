// Something to compile, so that the precompiled header of all rooms has an owner.
