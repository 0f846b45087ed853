#!/usr/bin/perl
# initramfs.pl create OUT: writes a cpio archive from lines on stdin: "directory PATH" or "file PATH
# SOURCE MODE". initramfs.pl extract ARCHIVE PATH: prints one file. Domain 0 has no cpio.
use strict;
use warnings;

my $number = 0;

sub read_file {
    my ($path) = @_;
    open(my $file, "<:raw", $path) or die "$path: $!\n";
    local $/;
    return scalar <$file>;
}

sub padding { return "\0" x (-$_[0] % 4); }

# entry PATH MODE DATA: the "newc" format of cpio(5): a magic number and 13 numbers of 8 digits.
sub entry {
    my ($path, $mode, $data) = @_;
    my $name = "$path\0";
    my @fields = (++$number, $mode, 0, 0, 1, 0, length($data), 0, 0, 0, 0, length($name), 0);
    my $head = "070701" . join("", map { sprintf("%08X", $_) } @fields) . $name;
    return $head . padding(length($head)) . $data . padding(length($data));
}

sub create {
    my ($out) = @_;
    open(my $file, ">:raw", $out) or die "$out: $!\n";
    while (my $line = <STDIN>) {
        my ($kind, $path, $source, $mode) = split(" ", $line);
        print $file $kind eq "directory"
            ? entry($path, 040755, "")
            : entry($path, 0100000 | oct($mode), read_file($source));
    }
    print $file entry("TRAILER!!!", 0, "");
    close($file) or die "$out: $!\n";
}

sub extract {
    my ($archive, $wanted) = @_;
    my $text = read_file($archive);
    my $at = 0;
    while ($at < length($text)) {
        die "$archive: not a cpio archive\n" if substr($text, $at, 6) ne "070701";
        my @fields = map { hex } unpack("(A8)13", substr($text, $at + 6, 104));
        my ($size, $name_size) = @fields[6, 11];
        my $name = substr($text, $at + 110, $name_size - 1);
        my $data = $at + 110 + $name_size;
        $data += -$data % 4;
        if ($name eq $wanted) {
            binmode(STDOUT);
            print substr($text, $data, $size);
            return;
        }
        last if $name eq "TRAILER!!!";
        $at = $data + $size;
        $at += -$at % 4;
    }
    die "$archive: no $wanted\n";
}

my $command = shift @ARGV;
if ($command eq "create") { create(@ARGV); }
else { extract(@ARGV); }
