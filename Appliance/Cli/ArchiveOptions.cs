using System.CommandLine;
using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Appliance.Cli;

/// <summary>What a scan opens inside of files, and how far.</summary>
internal sealed class ArchiveOptions
{
    private const int MostPasswords = 1000;
    private const int MostPasswordBytes = 1 << 20;

    private static readonly ArchiveLimits Defaults = new();

    private readonly Option<bool> _none = new("--no-archives") { Description = "Archives and documents are matched but not opened; how many there were is a gap." };
    private readonly Option<int> _depth = Number("--archive-depth", "Archives in archives are opened this deep.", Defaults.Depth, 100);
    private readonly Option<int> _members = Number("--archive-members", "Members of one file, at all depths.", Defaults.Members, int.MaxValue);
    private readonly Option<long?> _bytes = CommonOptions.Bytes("--archive-bytes", $"Unpacked bytes of one file, at all depths ({Sizes.Show(Defaults.Bytes)} by default).");
    private readonly Option<int> _ratio = Number("--archive-ratio", "Unpacked bytes for each byte of a file, when they are over 64 MiB.", Defaults.Ratio, int.MaxValue);
    private readonly Option<int> _time = Number("--archive-time", "Seconds for unpacking one file.", (int)Defaults.Time.TotalSeconds, 86_400);

    private readonly Option<string?> _passwords = new("--archive-passwords")
    {
        Description = $"Passwords tried on encrypted members, one a line, instead of {string.Join(", ", ArchiveLimits.DefaultPasswords)}; - reads standard input.",
        HelpName = "FILE|-",
    };

    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_none, _depth, _members, _bytes, _ratio, _time, _passwords])
        {
            command.Options.Add(option);
        }
    }

    /// <returns>Null when nothing is opened.</returns>
    /// <exception cref="TargetException">The passwords cannot be read.</exception>
    public ArchiveLimits? Of(ParseResult parsed) => parsed.GetValue(_none) ? null : new ArchiveLimits
    {
        Depth = parsed.GetValue(_depth),
        Members = parsed.GetValue(_members),
        Bytes = parsed.GetValue(_bytes) ?? Defaults.Bytes,
        Ratio = parsed.GetValue(_ratio),
        Time = TimeSpan.FromSeconds(parsed.GetValue(_time)),
        Passwords = parsed.GetValue(_passwords) is { } file ? ReadPasswords(file) : ArchiveLimits.DefaultPasswords,
    };

    private static string[] ReadPasswords(string name)
    {
        try
        {
            using Stream stream = name == "-" ? Console.OpenStandardInput() : File.OpenRead(name);
            byte[] bytes = new byte[MostPasswordBytes + 1];
            int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            string[] passwords = [.. Encoding.UTF8.GetString(bytes, 0, length).TrimStart('\uFEFF').Split('\n').Select(l => l.TrimEnd('\r')).Where(l => l.Length > 0).Distinct()];
            return length <= MostPasswordBytes && passwords.Length is > 0 and <= MostPasswords
                ? passwords
                : throw new TargetException($"--archive-passwords {name}: between 1 and {MostPasswords} passwords, one a line, are tried");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TargetException($"--archive-passwords {name}: {e.Message}");
        }
    }

    private static Option<int> Number(string name, string description, int value, int most) => new(name)
    {
        Description = $"{description} {value} by default.",
        DefaultValueFactory = _ => value,
        HelpName = "N",
        Validators = { r => { if (r.GetValueOrDefault<int>() is var n && (n < 1 || n > most)) { r.AddError($"{name} takes a number from 1 to {most}."); } } },
    };
}
