// Owns the precompiled header of the apps; does nothing.
int main() {}
