#!/usr/bin/perl
# Shares pages with domain 0 until the kernel has no free grant left, then prints their number and
# waits. A helper keeps some pages and ends, so that the kernel's PV drivers can go on.
use strict;
use warnings;

# struct ioctl_gntalloc_alloc_gref in Linux' include/uapi/xen/gntalloc.h, for one page.
my $allocate = 24 << 16 | ord("G") << 8 | 5;

# share FILE COUNT: shares up to COUNT pages, and returns their number.
sub share {
    my ($file, $count) = @_;
    my $shared = 0;
    while ($shared < $count) {
        my $request = pack("S S L Q L L", 0, 0, 1, 0, 0, 0);
        ioctl($file, $allocate, $request) or last;
        ++$shared;
    }
    return $shared;
}

$| = 1;
open(my $reserve, "+<", "/dev/xen/gntalloc") or die "/dev/xen/gntalloc: $!\n";
open(my $all, "+<", "/dev/xen/gntalloc") or die "/dev/xen/gntalloc: $!\n";
my $reserved = share($reserve, 200);
my $shared = share($all, 100000);
my $reason = $!;
close($reserve);
print $reserved + $shared, " $reason\n";
sleep(1000);
