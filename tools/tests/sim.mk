# SPDX-License-Identifier: BSD-2-Clause
# The simulator (tools/tests/sim*.c) and the coverage build. hv/coherency and hv/mmu are compiled with
# atomics that are switching points; `sim` with the channels as shipped, `sim2` with two slots a
# channel and a pool of a few pages, so that overflow and reclaim happen all the time; `simfast`
# is sim2 without sanitizers. Tested by tools/check.py unit/sim.
SIM_HV := $(filter hv/coherency/% hv/mmu/%,$(HV_SRC))
SIM_OWN := $(sort $(wildcard tools/tests/sim_*.c))
SIM_DIRECT := -DMMU_DIRECT=1 -DDIRECT_LONE=1 -DDIRECT_EAGER=true
SIM_TINY := -DCHANNEL_SETS=1 -DCHANNEL_WAYS=2 -DMMU_POOL_FLOOR=14 -DMMU_UNSYNC_OUT=4 \
	-DMMU_ALIASES=2 -DMMU_PARENTS=68 -DMMU_BATCH=8 $(SIM_DIRECT)
SIM_FLAGS_sim := $(SAN_host) $(SIM_DIRECT)
SIM_FLAGS_sim2 := $(SAN_host) $(SIM_TINY)
SIM_FLAGS_simfast := -O2 $(SIM_TINY)
SIM_LINK_sim := $(SAN_host)
SIM_LINK_sim2 := $(SAN_host)
SIM_LINK_simfast :=
SIM_BASE := $(filter hv/base/% hv/mem/%,$(HV_SRC)) $(wildcard tools/tests/fake/*.c)
SIM_LIB_sim := host
SIM_LIB_sim2 := host
SIM_LIB_simfast := plain
SAN_plain := -O2
HOSTCC_plain := $(HOSTCC)
$(eval $(call host_flavour,plain))
.PRECIOUS: $(O)/plain/%.c.o
define sim_flavour
$(O)/$(1)/hv/%.c.o: hv/%.c tools/tests/sim.mk tools/tests/sim_atomic.h
	@mkdir -p $$(@D)
	@$$(call say,HOSTCC,$$< ($(1)))
	$$(Q)$$(HOSTCC) $$(HOSTCFLAGS) $$(SIM_FLAGS_$(1)) -include tools/tests/sim_atomic.h -MMD -MP -c $$< -o $$@
$(O)/$(1)/tools/tests/sim_%.c.o: tools/tests/sim_%.c tools/tests/sim.mk
	@mkdir -p $$(@D)
	@$$(call say,HOSTCC,$$< ($(1)))
	$$(Q)$$(HOSTCC) $$(HOSTCFLAGS) $$(SIM_FLAGS_$(1)) -MMD -MP -c $$< -o $$@
$(O)/$(1)/sim: $$(patsubst %,$(O)/$(1)/%.o,$$(SIM_HV) $$(SIM_OWN)) $$(patsubst %,$(O)/$$(SIM_LIB_$(1))/%.o,$$(SIM_BASE))
	@$$(call say,LINK,$$@)
	$$(Q)$$(HOSTCC) $$(SIM_LINK_$(1)) -Wl,--wrap=hv_panic,--wrap=coherency_of $$^ -o $$@ -lpthread
-include $$(patsubst %,$(O)/$(1)/%.d,$$(SIM_HV) $$(SIM_OWN))
endef
$(eval $(call sim_flavour,sim))
$(eval $(call sim_flavour,sim2))
$(eval $(call sim_flavour,simfast))
SEED ?= 1
SECONDS ?= 600
soak: $(O)/sim/sim $(O)/sim2/sim ## the simulator with new seeds for SECONDS= (600), from SEED= (1)
	@$(O)/sim/sim seed=$(SEED) seconds=$(SECONDS) & a=$$!; \
	$(O)/sim2/sim seed=$(SEED) seconds=$(SECONDS); b=$$?; wait $$a && exit $$b
.PHONY: soak

# Coverage of hv/ by the host tests and the simulator: tools/cov.py reads what gcov says.
SAN_cov := --coverage -fprofile-update=prefer-atomic -O0
HOSTCC_cov := $(HOSTCC)
SIM_FLAGS_simcov := $(SAN_cov) $(SIM_TINY)
SIM_LINK_simcov := --coverage
SIM_LIB_simcov := cov
$(eval $(call host_flavour,cov))
$(eval $(call sim_flavour,simcov))
.PRECIOUS: $(O)/cov/%.c.o
cov-tests: $(HOST_TESTS:%=$(O)/cov/%) $(O)/simcov/sim
cov: ## line coverage of hv/ by the host tests; fails where hv/coherency or hv/mmu is below 90 %
	@$(PYTHON) tools/cov.py
.PHONY: cov cov-tests
