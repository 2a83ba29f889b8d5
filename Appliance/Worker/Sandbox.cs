using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Worker;

/// <summary>How a worker is shut in.</summary>
internal enum SandboxMode
{
    /// <summary>Namespaces where they can be had, otherwise reduced and said so.</summary>
    Full,

    /// <summary>No namespaces, by the operator's choice: resource limits only.</summary>
    Reduced,

    /// <summary>Namespaces, or nothing is run.</summary>
    Require,
}

/// <summary>
/// Starts worker processes inside <c>bubblewrap</c>: no network, no other processes, no capabilities but reading, and of the file system only
/// the runtime, this program and the files of the job, all read-only.
/// </summary>
internal sealed partial class Sandbox
{
    // The runtime's own files: its shared libraries, the loader's cache, OpenSSL's configuration.
    private static readonly string[] SystemFolders = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf"];

    private Sandbox(bool isFull, string detail)
    {
        IsFull = isFull;
        Detail = detail;
    }

    public bool IsFull { get; }

    /// <summary>Why the sandbox is reduced; empty when it is full.</summary>
    public string Detail { get; }

    /// <summary>As reports have it.</summary>
    public string Name => IsFull ? "full" : "reduced";

    /// <summary>Finds out what this machine gives. Tried for real: only a sandbox that started something counts.</summary>
    public static Sandbox Probe(SandboxMode mode)
    {
        if (mode == SandboxMode.Reduced)
        {
            return new Sandbox(false, "chosen by --sandbox reduced");
        }

        if (Find("bwrap") is not { } bwrap)
        {
            return new Sandbox(false, "bubblewrap is missing; install it with: apt-get install -y bubblewrap");
        }

        var start = new ProcessStartInfo(bwrap) { RedirectStandardError = true, RedirectStandardOutput = true, RedirectStandardInput = true };
        AddIsolation(start.ArgumentList);
        start.ArgumentList.Add("/usr/bin/true");
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return new Sandbox(false, $"bubblewrap cannot start here: {e.Message}");
        }

        using Process started = process;
        string error = process.StandardError.ReadToEnd().Trim();
        process.WaitForExit();
        return process.ExitCode != 0 ? new Sandbox(false, $"bubblewrap cannot start here: {error}")
            : !SystemCallFilter.IsSupported ? new Sandbox(false, "this kernel has no system call filter (CONFIG_SECCOMP_FILTER)")
            : new Sandbox(true, "");
    }

    /// <summary>How to start this program as a worker.</summary>
    /// <param name="binds">Host path and sandbox path of each file or folder that the job may read.</param>
    /// <param name="heapBytes">The runtime's heap limit.</param>
    public ProcessStartInfo WorkerStart(IReadOnlyList<(string Host, string Inside)> binds, long heapBytes)
    {
        IReadOnlyList<string> program = Program;
        var environment = new Dictionary<string, string>
        {
            // Hexadecimal, and without 0x: with it a program compiled ahead takes none of these.
            ["DOTNET_GCHeapHardLimit"] = heapBytes.ToString("X", CultureInfo.InvariantCulture),
            ["DOTNET_gcConcurrent"] = "0",
            // Content is held outside of the heap; a nursery as large as the processor's cache would only keep memory.
            ["DOTNET_GCgen0size"] = "1000000",
            // The collector goes through the whole heap for each few megabytes of large arrays, such as lists of a disk's files.
            ["DOTNET_GCLOHThreshold"] = "200000",
            // Where dotnet runs the assembly.
            ["DOTNET_EnableDiagnostics"] = "0",
            ["DOTNET_TieredPGO"] = "0",
            ["DOTNET_NOLOGO"] = "1",
            ["LC_ALL"] = "C.UTF-8",
        };
        var start = new ProcessStartInfo
        {
            FileName = IsFull ? Find("bwrap")! : program[0],
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        if (!IsFull)
        {
            foreach ((string name, string value) in environment)
            {
                start.Environment[name] = value;
            }

            Add(start.ArgumentList, [.. program.Skip(1), WorkerCommand]);
            return start;
        }

        var arguments = start.ArgumentList;
        AddIsolation(arguments);
        arguments.Add("--clearenv");
        foreach ((string name, string value) in environment)
        {
            Add(arguments, "--setenv", name, value);
        }

        foreach (string folder in program.Select(p => Path.GetDirectoryName(p)!).Distinct())
        {
            BindReadOnly(arguments, folder);
        }

        foreach ((string from, string inside) in binds)
        {
            Add(arguments, "--ro-bind", from, inside);
        }

        Add(arguments, ["--remount-ro", "/", "--", .. program, WorkerCommand]);
        return start;
    }

    /// <summary>The hidden command that makes this program a worker.</summary>
    public const string WorkerCommand = "worker";

    /// <summary>Where the job's file or folder appears inside: its own place when reduced, a neutral name when full.</summary>
    public string Inside(string hostPath, string name) => IsFull ? "/job/" + name : hostPath;

    /// <summary>Files and folders of the operator's, each under a number and its own name.</summary>
    public List<(string Host, string Inside)> Binds(IReadOnlyList<string> paths, string folder) =>
        [.. paths.Select((p, i) => (Path.GetFullPath(p), Inside(Path.GetFullPath(p), $"{folder}/{i}/{Path.GetFileName(p.TrimEnd('/'))}")))];

    private static void AddIsolation(ICollection<string> arguments)
    {
        Add(arguments, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL");
        if (GetEuid() == 0)
        {
            // A user namespace of root's would lose the right to read images that belong to the hypervisor's own account.
            // Reading is all that this capability gives, and only of what is bound below: opening by handle, which it would also
            // allow, is taken away by the system call filter before a guest's byte is read.
            Add(arguments, "--cap-add", "CAP_DAC_READ_SEARCH");
        }
        else
        {
            Add(arguments, "--unshare-user", "--disable-userns");
        }

        Add(arguments, "--hostname", "worker", "--proc", "/proc", "--dev", "/dev", "--chdir", "/");

        // Root without capabilities still owns /proc/sys: a writable core_pattern there would be a way to the host.
        Add(arguments, "--remount-ro", "/proc");
        foreach (string folder in SystemFolders)
        {
            if (new DirectoryInfo(folder) is { Exists: true, LinkTarget: { } target })
            {
                Add(arguments, "--symlink", target, folder);
            }
            else
            {
                Add(arguments, "--ro-bind-try", folder, folder);
            }
        }
    }

    private static void BindReadOnly(ICollection<string> arguments, string folder)
    {
        if (!folder.StartsWith("/usr/", StringComparison.Ordinal))
        {
            Add(arguments, "--ro-bind", folder, folder);
        }
    }

    private static void Add(ICollection<string> arguments, params ReadOnlySpan<string> more)
    {
        foreach (string argument in more)
        {
            arguments.Add(argument);
        }
    }

    /// <summary>How this program is started again: the one file that it was compiled to or, in tests, which compile nothing ahead, <c>dotnet</c> with links resolved and the assembly.</summary>
    public static IReadOnlyList<string> Program { get; } = RuntimeFeature.IsDynamicCodeCompiled
        ? [Resolved(Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"))), Path.Combine(AppContext.BaseDirectory, "vmsweep.dll")]
        : [Environment.ProcessPath ?? throw new InvalidOperationException("this process has no path")];

    private static string Resolved(string path) => new FileInfo(path).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? path;

    public static string? Find(string program) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/bin:/usr/sbin:/bin".Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(File.Exists);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint GetEuid();
}
