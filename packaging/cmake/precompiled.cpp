// The source file of the target that owns the shared precompiled header.
