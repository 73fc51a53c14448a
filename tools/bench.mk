# SPDX-License-Identifier: BSD-2-Clause
# The benchmarks. Figures, never a verdict. Tested by tools/check.py linux/bench and unit/micro.
BENCH_NEEDS = $(O)/patchbay.elf $(O)/patchbay.elf32 $(O)/cache/vmlinuz $(O)/initrd.gz
bench: ## cost of OPS (all) on Patchbay relative to the bare emulator, ROUNDS times; build/bench.json, .svg
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/bench.py
bench-modes: ## the same with each option of the design away from its default (VARIANTS="a=b; c=d")
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/bench.py modes
bench-pool: ## the same with smaller and smaller shadow pools
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/bench.py pool
bench-growth: ## costs with 1, 2, 4 and 8 CPUs
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/bench.py growth
bench-io: ## devices that the guest owns: CPU, exits and interrupts of a 4 KiB read (NVMe, AHCI), of a received packet
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS) $(O)/initrd-io.gz
	@$(PYTHON) tools/benchio.py $(ARGS)
.PHONY: bench-io
# With the distribution's stress-ng and its libraries.
$(O)/initrd-bench.gz: $(O)/initrd.gz $(O)/cache/tools
	@$(call say,CPIO,$@)
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbbench $(O)/cache/tools
bench-stress: ## stress-ng with 4 workers, bare and on Patchbay in turn
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS) $(O)/initrd-bench.gz
	@$(PYTHON) tools/bench.py stress
.PHONY: bench-stress bench bench-modes bench-pool bench-growth

# Instructions instead of time. BASE=rev: an earlier revision beside this one, built from its own tree.
COUNT_BASE := $(if $(BASE),$(O)/base-$(subst /,-,$(BASE)))
bench-count: ## instructions an operation, exact: bare, Patchbay (BASE=rev: an earlier one; NPT="0 1": KVM), where each exit's go
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS) $(if $(NPT),$(O)/kvm-initrd)
	@$(MAKE) --no-print-directory O=$(O)/profile PROFILE=1 $(O)/profile/patchbay.elf $(O)/profile/patchbay.elf32
	@$(if $(BASE),rm -rf $(COUNT_BASE) && mkdir -p $(COUNT_BASE)/tree && git archive $(BASE) | tar -x -C $(COUNT_BASE)/tree && \
		$(MAKE) --no-print-directory -C $(COUNT_BASE)/tree VERSION=$(BASE) O=build build/patchbay.elf build/patchbay.elf32)
	@$(PYTHON) tools/benchcount.py ops --profile $(O)/profile $(if $(BASE),--base $(COUNT_BASE)/tree/build)
bench-count-growth: ## the same with four CPUs: four workers against one
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/benchcount.py growth
bench-count-budget: ## are the recorded counts kept? RENEW=1 records today's in tools/bench-count.json
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/benchcount.py budget
bench-vms: ## what a fork of one VM costs with 0, 1 and 2 neighbours: instructions, exits, CPU time (ARGS="--loaded --ops fork")
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS)
	@$(PYTHON) tools/benchvms.py $(ARGS)
.PHONY: bench-count bench-count-growth bench-count-budget bench-vms

# On the host's own CPUs, with the objects of the simulator's plain build.
MICRO := $(patsubst tools/micro/%.c,$(O)/micro/%,$(wildcard tools/micro/*.c))
$(O)/micro/%: $(O)/plain/tools/micro/%.c.o $(O)/plain/libhv.a
	@mkdir -p $(@D)
	@$(call say,LINK,$@)
	$(Q)$(HOSTCC) -Wl,--wrap=port_tsc $^ -o $@ -lpthread
-include $(patsubst %,$(O)/plain/%.d,$(wildcard tools/micro/*.c))
micro: $(MICRO)
bench-micro: ## posts, drains, fills and walks on the host's CPUs, in ns; against channels under a lock
	@$(MAKE) --no-print-directory micro
	@$(PYTHON) tools/benchmicro.py
.PHONY: micro bench-micro

# The same guest under the distribution's own KVM, nested in the same emulator.
$(O)/cache/kvm-vmlinuz: tools/fetch.sh
	@$(call say,FETCH,$@)
	$(Q)tools/fetch.sh kvm $(O)/cache
	@touch $@
$(O)/kvm-initrd: tools/kvmguest.py $(O)/cache/kvm-vmlinuz $(O)/cache/busybox $(O)/cache/vmlinuz $(O)/initrd.gz
	@$(call say,CPIO,$@)
	$(Q)$(PYTHON) tools/kvmguest.py $@ $(O)/cache/busybox $(O)/cache/kvm $(O)/cache/vmlinuz $(O)/initrd.gz
bench-kvm: ## as bench, with KVM's shadow paging (npt=0) beside it, nested in the same emulator; NPT="0 1": both
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BENCH_NEEDS) $(O)/kvm-initrd
	@$(PYTHON) tools/bench.py kvm
.PHONY: bench-kvm
