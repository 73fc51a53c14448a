/* SPDX-License-Identifier: BSD-2-Clause */
/* The devices of the virtual PC as ACPI describes them, compiled by iasl at build time (hv/vm/tables/acpi.mk).
 * Ports and interrupts are those of hv/vdev. With FUNCTIONS, for a bus that has any, also of its lines. Tested by tools/tests/test_acpi.c. */
DefinitionBlock ("", "DSDT", 2, "PTCHBY", "PATCHBAY", 1)
{
#ifdef FUNCTIONS
    Name (\APIC, 0)
    Method (\_PIC, 1, NotSerialized)
    {
        APIC = Arg0
    }
#endif
    Name (\_S5, Package () { 5, 5, 0, 0 }) // VPC_PM_SLP_TYP_S5

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
#ifdef FUNCTIONS
                // the one that MCFG names: there are no bridges
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0, 0, 1)
#else
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0xff, 0, 0x100)
#endif
                IO (Decode16, 0x0cf8, 0x0cf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0, 0x0cf7, 0, 0x0cf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0d00, 0xffff, 0, 0xf300)
                // RAM ends at C0000000 at the latest, the I/O APIC is at FEC00000; with FUNCTIONS,
                // hv/vm/tables/acpi_pci.c fills in where real BARs begin
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
#ifdef FUNCTIONS
                // filled in likewise: vpc_pci_window
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable,
                    ReadWrite, 0, 0x100000000, 0x1ffffffff, 0, 0x100000000)
#endif
            })
#ifdef FUNCTIONS
            // Device d, pin p: line (d + p) % 8 of the bus; pins 16..23 of the I/O APIC, or
            // interrupts 10 and 11 of the 8259s (VPC_PCI_PIN, VPC_PCI_IRQ)
            Method (_PRT, 0, NotSerialized)
            {
                Local0 = Package (124) {}
                Local1 = 0
                While (Local1 < 124)
                {
                    Local2 = (Local1 >> 2) + 1
                    Local3 = Local1 & 3
                    Local4 = (Local2 + Local3) & 7
                    If (APIC)
                    {
                        Local4 += 16
                    }
                    Else
                    {
                        Local4 = (Local4 & 1) + 10
                    }
                    Local5 = Package (4) { 0, 0, 0, 0 }
                    Local5 [0] = (Local2 << 16) | 0xffff
                    Local5 [1] = Local3
                    Local5 [3] = Local4
                    Local0 [Local1] = Local5
                    Local1++
                }
                Return (Local0)
            }
#endif

            Device (ISA)
            {
                Name (_ADR, 0x00010000)

                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Name (_STA, 0x0f)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03f8, 0x03f8, 1, 8)
                        IRQNoFlags () { 4 }
                    })
                }
                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 1, 2)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 1, 2)
                        IO (Decode16, 0x00a0, 0x00a0, 1, 2)
                        IO (Decode16, 0x04d0, 0x04d0, 1, 2)
                        IRQNoFlags () { 2 }
                    })
                }
                Device (TIMR)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 1, 4)
                        IRQNoFlags () { 0 }
                    })
                }
                Device (MISC) // what no driver claims: system ports, power management
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0061, 0x0061, 1, 1)
                        IO (Decode16, 0x0080, 0x0080, 1, 1)
                        IO (Decode16, 0x0092, 0x0092, 1, 1)
                        IO (Decode16, 0x0600, 0x0600, 1, 0x0c)
#ifdef FUNCTIONS
                        Memory32Fixed (ReadWrite, 0xfef00000, 0x100000) // PCI_ECAM_BASE
#endif
                    })
                }
            }
        }
    }
}
