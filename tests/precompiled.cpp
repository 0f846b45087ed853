// An empty program that owns the tests' precompiled header.
int main() {}
