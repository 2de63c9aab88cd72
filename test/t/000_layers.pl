# A file calls no function of a file that whatsapp.h lists after it.
#
# Looks at the objects of the build, so that neither comments nor macros
# matter.  Run it where the extension has been built.

use strict;
use warnings FATAL => 'all';

use Test::More;

my (@files, %home, %position);

# The header names the files, lowest layer first, and under each file what is
# public in it.
open(my $header, '<', 'src/whatsapp.h')
  or die "could not open src/whatsapp.h: $!";
while (my $line = <$header>)
{
	if ($line =~ m{^/\* in (\w+)\.c \*/})
	{
		$position{$1} = @files;
		push(@files, $1);
	}
	elsif (@files && $line =~ /^extern .*?\b(wa_\w+)\s*[(;\[]/)
	{
		$home{$1} = $files[-1];
	}
}
close($header);

# Symbols of an object: what it defines for others, or what it needs of them
sub symbols
{
	my ($file, @options) = @_;

	open(my $nm, '-|', 'nm', '-P', @options, "src/$file.o")
	  or die "could not run nm: $!";
	my @symbols = map { /^(wa_\w+) / ? $1 : () } <$nm>;
	close($nm) or die "nm failed on src/$file.o";
	return sort @symbols;
}

my @sources = map { m{(\w+)\.c$} } glob('src/*.c');
is_deeply(
	[ sort @files ],
	[ sort @sources ],
	'whatsapp.h lists every file of src, once');

for my $file (@sources)
{
	if (!-e "src/$file.o")
	{
		fail("src/$file.o has been built");
		next;
	}

	my @undeclared =
	  grep { ($home{$_} // '') ne $file } symbols($file, '-g', '--defined-only');
	is("@undeclared", '',
		"all that is public in $file.c is declared under it in whatsapp.h");

	my @later =
	  grep { $position{ $home{$_} // $file } > ($position{$file} // -1) }
	  symbols($file, '-u');
	is("@later", '', "$file.c uses nothing that is listed after it");
}

done_testing();
