// Owns the precompiled header of the apps. Does nothing.
int main() {}
