using System.CommandLine;
using System.CommandLine.Parsing;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;

namespace Vmsweep.Appliance.Cli;

/// <summary>Options that several commands share, each made anew for its command.</summary>
internal static class CommonOptions
{
    /// <summary>With the runtime and caches this stays below 600 MiB.</summary>
    public const long DefaultMemoryBytes = 192L << 20;

    private const long SmallestMemoryBytes = 4L << 20;

    public static Option<string> Format(params string[] formats)
    {
        var option = new Option<string>("--format") { Description = $"Output format: {string.Join(", ", formats)}.", DefaultValueFactory = _ => formats[0], HelpName = string.Join('|', formats) };
        return option.AcceptOnlyFromAmong(formats);
    }

    public static Option<FileInfo?> Out() => new("--out") { Description = "Write the result to a file instead of standard output.", HelpName = "FILE" };

    public static Option<SandboxMode?> SandboxChoice() => new("--sandbox")
    {
        Description = "full (default): namespaces where this machine gives them, said loudly where not; reduced: resource limits only; require: full or nothing.",
        HelpName = "full|reduced|require",
        CustomParser = Parse((string text, out SandboxMode mode) => Enum.TryParse(text, ignoreCase: true, out mode) && Enum.IsDefined(mode) && !char.IsAsciiDigit(text[0]), "full, reduced or require"),
    };

    public static Option<string[]> Bases() => new("--base")
    {
        Description = "A folder whose images may be parents of any disk, such as the bases of linked clones. Repeatable.",
        HelpName = "DIR",
    };

    public static Option<string?> Key() => new("--key")
    {
        Description = "Secrets for BitLocker and LUKS, one a line (password, recovery key, master:HEX), or a key file; - reads standard input. Never on the command line.",
        HelpName = "FILE|-",
    };

    public static Option<string?> Snapshot() => new("--snapshot")
    {
        Description = "An earlier state by its name or id, as info lists them (volume shadow copies by id), or all: every state and the present one.",
        HelpName = "NAME|all",
    };

    public static Option<string?> Clamd() => new("--clamd")
    {
        Description = $"The Unix socket of ClamAV's daemon; by default what vmsweep.json says, or {ClamdOptions.DefaultSocket} where only --engine asks for it.",
        HelpName = "SOCKET",
    };

    public static Option<bool> Deleted() => new("--deleted")
    {
        Description = "Deleted files too, as far as nothing was written over them (NTFS).",
    };

    public static Option<string> MemoryScan()
    {
        var option = new Option<string>("--memory-scan")
        {
            Description = "Whether memory of suspended VMs and of snapshots is scanned too; left out it is named in the report and is no gap. With running that of running VMs too (libvirt, QEMU): each STANDS STILL while its memory is written to a file, seconds for each GiB; the report says how long.",
            HelpName = "yes|no|running",
            DefaultValueFactory = _ => "yes",
        };
        option.AcceptOnlyFromAmong("yes", "no", "running");
        return option;
    }

    public static Option<int> Threads() => new("--threads")
    {
        Description = "Matching threads; by default one for each processor.",
        DefaultValueFactory = _ => Environment.ProcessorCount,
        HelpName = "N",
        Validators = { r => { if (r.GetValueOrDefault<int>() is < 1 or > 1024) { r.AddError("--threads takes a number from 1 to 1024."); } } },
    };

    public static Option<long?> Memory() => new("--memory")
    {
        Description = "Guest content held at once (512M, 2G); 192M by default. Larger files are matched in windows, which is reported.",
        HelpName = "SIZE",
        CustomParser = Parse((string text, out long bytes) => Sizes.TryParse(text, out bytes) && bytes >= SmallestMemoryBytes, "a size of at least 4M, such as 512M or 2G"),
    };

    /// <summary>A number of bytes of any size.</summary>
    public static Option<long?> Bytes(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "N",
        CustomParser = Parse((string text, out long bytes) => Sizes.TryParse(text, out bytes), "a number of bytes, such as 4096 or 16M"),
    };

    public static Option<string?> State() => new("--state") { Description = "Folder for logs and databases; none keeps nothing.", HelpName = "DIR|none" };

    public static Option<string?> Configuration() => new("--config") { Description = "Configuration file; /etc/vmsweep/vmsweep.json by default for root.", HelpName = "FILE" };

    public static Option<bool> NoProgress() => new("--no-progress") { Description = "No progress line; there is none anyway unless standard error is a terminal." };

    public static Argument<string> Image() => new("IMAGE") { Description = "A virtual disk image, or a VM's configuration file." };

    private delegate bool TryParse<T>(string text, out T value);

    private static Func<ArgumentResult, T?> Parse<T>(TryParse<T> parse, string expected)
        where T : struct => result =>
    {
        if (result.Tokens.Count == 1 && parse(result.Tokens[0].Value, out T value))
        {
            return value;
        }

        result.AddError($"'{result.Tokens[0].Value}' is not {expected}.");
        return null;
    };
}
