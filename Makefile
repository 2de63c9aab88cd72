# whatsapp: WhatsApp messages, received and sent
#
#	make, make install	build and install for the PostgreSQL of PG_CONFIG
#	make check			run all tests, with what is installed here
#	make check-all		the same, and with other versions of PostgreSQL (as root)
#	make check-static	look for mistakes without running it; see test/static.sh
#	make demo			show it at work; see test/demo.sh
#	make bench			measure how fast it is, beside others; see bench/run.sh
#	make indent			lay out the C code; make check-style says what is not
#
# The targets that are named in "ours" find out by themselves what they need,
# and must work before PostgreSQL is installed.  So PGXS is not included for
# them.  It also has a "check" of its own, which only says that there is none.

ours = bench check check-all check-static check-style demo indent

ifneq ($(filter $(ours),$(MAKECMDGOALS)),)

.PHONY: $(MAKECMDGOALS)

# other targets in the same command are for PGXS
$(filter-out $(ours),$(MAKECMDGOALS)):
	$(MAKE) $@

# TESTS="test/t/001_*.pl ..." selects; see test/check.sh
check:
	@bash test/check.sh

check-all:
	@bash test/chroots.sh

check-static:
	@bash test/static.sh

demo:
	@bash test/demo.sh

# QUICK=1 takes minutes rather than hours; BENCH="drain latency" selects
bench:
	@bash bench/run.sh

# PostgreSQL's layout, by its own tool.  The tool takes "char *" on a line of
# its own for a product; sed mends that, as pgindent does.
indent_flags = -bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 \
	-i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4 -Utypedefs.list
laid_out = set -e; \
	bash test/setup.sh style >/dev/null; \
	PATH="$$PATH:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :)"; \
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; trap 'exit 1' INT TERM HUP; \
	bad=0; \
	for file in src/*.c src/*.h; do \
		pg_bsd_indent "$$file" "$$dir/out" $(indent_flags); \
		sed -E -i 's/^([A-Za-z_][A-Za-z0-9_]*)[ \t]+\*$$/\1 */' "$$dir/out"; \
		$(1); \
	done; \
	exit $$bad

indent:
	@$(call laid_out,cmp -s "$$file" "$$dir/out" || cat "$$dir/out" >"$$file")

check-style:
	@$(call laid_out,diff -u "$$file" "$$dir/out" || bad=1)

else

EXTENSION = whatsapp
DATA = $(wildcard whatsapp--*.sql)

MODULE_big = whatsapp
OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c))

# The version is in the control file only
version := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" whatsapp.control)

curl_cflags := $(shell curl-config --cflags 2>/dev/null || pkg-config --cflags libcurl 2>/dev/null)
curl_libs := $(shell curl-config --libs 2>/dev/null || pkg-config --libs libcurl 2>/dev/null)

PG_CPPFLAGS = -DWHATSAPP_VERSION='"$(version)"' $(curl_cflags)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers $(if $(filter 1,$(WERROR)),-Werror)
SHLIB_LINK = $(curl_libs)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --load-extension=whatsapp

EXTRA_CLEAN = tmp_check

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)

include $(PGXS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h)

ifeq ($(curl_libs),)
$(OBJS): no-libcurl

.PHONY: no-libcurl
no-libcurl:
	@echo 'The headers of libcurl are missing (neither curl-config nor pkg-config finds them).'
	@echo 'Debian and Ubuntu: apt-get install libcurl4-openssl-dev'
	@false
endif

else

# PostgreSQL's files for building extensions are not there
.PHONY: all clean
all:
	@echo 'PostgreSQL cannot be built for: "$(PG_CONFIG) --pgxs" names no file.'
	@echo 'Debian and Ubuntu: apt-get install postgresql-server-dev-all'
	@echo 'Elsewhere: make PG_CONFIG=/where/it/is/bin/pg_config'
	@false

install installcheck: all

clean:
	rm -rf whatsapp.so $(OBJS) $(OBJS:.o=.bc) $(EXTRA_CLEAN) \
		results regression.diffs regression.out output_iso

endif
endif
