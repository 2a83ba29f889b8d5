using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// Takes from a worker, on all its threads and for good, the system calls that it never needs and that lead out of a sandbox: opening
/// files by handle (which the one capability kept for root would allow), new programs, sockets, mounts, namespaces, other processes, and
/// the kernel's larger attack surfaces. Linux <c>seccomp(2)</c> with a classic BPF program.
/// </summary>
internal static unsafe partial class SystemCallFilter
{
    private const int PrSetNoNewPrivs = 38;
    private const int SetModeFilter = 1;
    private const int OnAllThreads = 1;

    private const ushort LoadWord = 0x20;
    private const ushort JumpIfEqual = 0x15;
    private const ushort JumpIfAtLeast = 0x35;
    private const ushort Return = 0x06;
    private const uint Allow = 0x7FFF_0000;
    private const uint FailWithEperm = 0x0005_0001;
    private const uint KillProcess = 0x8000_0000;

    /// <summary>Offsets in <c>struct seccomp_data</c>.</summary>
    private const uint NumberAt = 0;
    private const uint ArchitectureAt = 4;

    /// <summary>Its low half; both architectures are little-endian, and a family fills no more.</summary>
    private const uint FirstArgumentAt = 16;

    private const uint UnixFamily = 1;

    /// <summary>Numbers from here on are the x32 ABI's names for the same calls.</summary>
    private const uint X32Bit = 0x4000_0000;

    // asm/unistd_64.h
    private static readonly uint[] X64Sockets = [41, 42]; // socket, connect

    private static readonly uint[] X64 =
    [
        303, 304, // name_to_handle_at, open_by_handle_at
        57, 58, 59, 322, // fork, vfork, execve, execveat
        49, 50, // bind, listen
        101, 310, 311, 312, 438, // ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd
        155, 161, 165, 166, 272, 308, // pivot_root, chroot, mount, umount2, unshare, setns
        428, 429, 430, 431, 432, 433, 442, // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
        298, 321, 323, 425, 426, 427, // perf_event_open, bpf, userfaultfd, io_uring_setup, io_uring_enter, io_uring_register
        248, 249, 250, // add_key, request_key, keyctl
        175, 176, 313, 246, 320, // init_module, delete_module, finit_module, kexec_load, kexec_file_load
        103, 163, 164, 167, 168, 169, 170, 171, 179, 227, // syslog, acct, settimeofday, swapon, swapoff, reboot, sethostname, setdomainname, quotactl, clock_settime
    ];

    // asm-generic/unistd.h
    private static readonly uint[] Arm64Sockets = [198, 203];

    private static readonly uint[] Arm64 =
    [
        264, 265,
        221, 281,
        200, 201,
        117, 270, 271, 272, 438,
        39, 40, 41, 51, 97, 268,
        428, 429, 430, 431, 432, 433, 442,
        241, 280, 282, 425, 426, 427,
        217, 218, 219,
        104, 105, 106, 273, 294,
        60, 89, 112, 116, 142, 161, 162, 170, 224, 225,
    ];

    /// <summary>True when this kernel can filter at all, so that a sandbox without it is known to be less before anything is read.</summary>
    public static bool IsSupported => File.Exists("/proc/sys/kernel/seccomp/actions_avail") && Calls is not null;

    private static (uint Architecture, int Seccomp, uint[] Denied, uint[] Sockets)? Calls => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => (0xC000_003E, 317, X64, X64Sockets),
        Architecture.Arm64 => (0xC000_00B7, 277, Arm64, Arm64Sockets),
        _ => null,
    };

    /// <summary>Puts the filter on this process. It cannot be taken off.</summary>
    /// <param name="withSockets">
    /// Unix sockets may be made and connected, no others. Which ones are within reach is the sandbox's to say: those whose paths are bound, for the
    /// empty network namespace holds no abstract ones.
    /// </param>
    /// <exception cref="InvalidOperationException">The kernel refuses although it can filter.</exception>
    public static void Apply(bool withSockets)
    {
        if (Calls is not { } calls || !IsSupported)
        {
            return;
        }

        Instruction[] program = Program(calls.Architecture, withSockets ? calls.Denied : [.. calls.Denied, .. calls.Sockets], withSockets ? calls.Sockets[0] : null);
        fixed (Instruction* first = program)
        {
            var filter = new FilterProgram { Length = (ushort)program.Length, Instructions = first };
            if (PrCtl(PrSetNoNewPrivs, 1, 0, 0, 0) != 0 || SysCall(calls.Seccomp, SetModeFilter, OnAllThreads, &filter) != 0)
            {
                throw new InvalidOperationException($"the system call filter is refused: {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
    }

    /// <param name="unixOnly">The number of <c>socket</c>, where it may make Unix sockets and no others.</param>
    private static Instruction[] Program(uint architecture, uint[] denied, uint? unixOnly)
    {
        List<Instruction> program =
        [
            new(LoadWord, 0, 0, ArchitectureAt),
            new(JumpIfEqual, 1, 0, architecture),
            new(Return, 0, 0, KillProcess),
            new(LoadWord, 0, 0, NumberAt),
            new(JumpIfAtLeast, 0, 1, X32Bit),
            new(Return, 0, 0, FailWithEperm),
        ];
        for (int i = 0; i < denied.Length; i++)
        {
            program.Add(new Instruction(JumpIfEqual, (byte)(denied.Length - i + (unixOnly is null ? 0 : 3)), 0, denied[i]));
        }

        if (unixOnly is { } socket)
        {
            program.Add(new Instruction(JumpIfEqual, 0, 2, socket));
            program.Add(new Instruction(LoadWord, 0, 0, FirstArgumentAt));
            program.Add(new Instruction(JumpIfEqual, 0, 1, UnixFamily));
        }

        program.Add(new Instruction(Return, 0, 0, Allow));
        program.Add(new Instruction(Return, 0, 0, FailWithEperm));
        return [.. program];
    }

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    private static partial int PrCtl(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SysCall(nint number, nuint operation, nuint flags, FilterProgram* program);

    /// <summary><c>struct sock_filter</c>.</summary>
    private readonly struct Instruction(ushort code, byte ifTrue, byte ifFalse, uint operand)
    {
        public readonly ushort Code = code;
        public readonly byte IfTrue = ifTrue;
        public readonly byte IfFalse = ifFalse;
        public readonly uint Operand = operand;
    }

    /// <summary><c>struct sock_fprog</c>.</summary>
    private struct FilterProgram
    {
        public ushort Length;
        public Instruction* Instructions;
    }
}
