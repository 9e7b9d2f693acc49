import { statfsSync } from 'node:fs'

/**
 * File systems whose files are no data but windows into the kernel (statfs(2), linux/magic.h): proc, sysfs, cgroup,
 * cgroup2, debugfs, tracefs, securityfs, bpf, pstore, efivarfs, configfs, devpts, mqueue, hugetlbfs, binfmt_misc,
 * selinuxfs, fusectl, nsfs.
 */
const KERNEL_FILE_SYSTEMS = new Set([
  0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0x6165676c, 0xde5e81e4,
  0x62656570, 0x1cd1, 0x19800202, 0x958458f6, 0x42494e4d, 0xf97cff8c, 0x65735543, 0x6e736673,
])

/** Whether a directory lies on a file system that holds no data, such as /proc and /sys. */
export function isSpecialFileSystem(directory: string): boolean {
  // Some architectures have the type signed.
  return KERNEL_FILE_SYSTEMS.has(statfsSync(directory).type >>> 0)
}
