using System.Globalization;
using System.IO.Compression;
using System.Text.RegularExpressions;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.ClamAv;

/// <summary>What a running <c>clamd</c> says of itself.</summary>
/// <param name="Version">Of the program.</param>
/// <param name="DatabaseVersion">Of ClamAV's own database; null where none is loaded but an own one.</param>
/// <param name="DatabaseDate">When that database was made.</param>
/// <param name="Signatures">How many there are; null where nothing tells.</param>
/// <param name="Threads">Its line of STATS on threads.</param>
/// <param name="TellsLimits">It says when it did not scan a content whole, instead of OK.</param>
public sealed partial record ClamdState(string Version, int? DatabaseVersion, DateTimeOffset? DatabaseDate, int? Signatures, string Threads, bool TellsLimits)
{
    /// <summary>Where ClamAV keeps its database.</summary>
    public const string DefaultDatabaseFolder = "/var/lib/clamav";

    /// <summary>More than any configuration allows: libclamav takes at most 100.</summary>
    private const int ProbeDepth = 120;

    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(10);

    /// <summary>Asks the daemon.</summary>
    /// <exception cref="ClamdException">It cannot be reached, or is no <c>clamd</c>.</exception>
    public static ClamdState Ask(string socket, string databaseFolder = DefaultDatabaseFolder, CancellationToken cancellation = default)
    {
        string text = Answer(socket, "VERSION", cancellation);
        Match match = VersionAnswer().Match(text);
        if (!match.Success)
        {
            throw new ClamdException($"what answers on {socket} is no clamd: {ClamdAnswer.Quoted(text)}");
        }

        int? database = match.Groups["database"].Success ? int.Parse(match.Groups["database"].ValueSpan, CultureInfo.InvariantCulture) : null;
        DateTimeOffset? date = DateTime.TryParseExact(
            match.Groups["date"].Value, "ddd MMM d HH:mm:ss yyyy", CultureInfo.InvariantCulture, DateTimeStyles.AllowWhiteSpaces | DateTimeStyles.AssumeLocal, out DateTime local) ? local : null;
        string threads = ThreadsLine().Match(Answer(socket, "STATS", cancellation)).Groups["threads"].Value;
        return new ClamdState(match.Groups["version"].Value, database, date, ClamDatabase.SignaturesOf(databaseFolder, database), threads, TellsLimitsOf(socket, cancellation));
    }

    /// <summary>A daemon whose <c>AlertExceedsMax</c> is off says OK of what it left out, and no command asks for its configuration: this does.</summary>
    private static bool TellsLimitsOf(string socket, CancellationToken cancellation)
    {
        ExchangeResult result = ClamdExchange.Scan(socket, Nested(ProbeDepth), Wait, cancellation);
        return result.End == ExchangeEnd.Answered
            ? ClamdAnswer.Read(result.Text, 0, []) is { Kind: MatchFaultKind.Limit }
            : throw new ClamdException($"clamd on {socket}: {result.Text}");
    }

    private static string Answer(string socket, string command, CancellationToken cancellation)
    {
        ExchangeResult result = ClamdExchange.Ask(socket, command, Wait, cancellation);
        return result.End == ExchangeEnd.Answered ? result.Text.Trim() : throw new ClamdException($"clamd cannot be reached at {socket}: {result.Text}");
    }

    private static byte[] Nested(int depth)
    {
        byte[] content = [0];
        for (int i = 0; i < depth; i++)
        {
            using var outer = new MemoryStream();
            using (var zip = new ZipArchive(outer, ZipArchiveMode.Create))
            {
                using Stream member = zip.CreateEntry("a", CompressionLevel.NoCompression).Open();
                member.Write(content);
            }

            content = outer.ToArray();
        }

        return content;
    }

    [GeneratedRegex(@"\AClamAV (?<version>[A-Za-z0-9.+-]{1,64})(/(?<database>[0-9]{1,9})/(?<date>[A-Za-z0-9: ]{1,40}))?\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex VersionAnswer();

    [GeneratedRegex(@"^THREADS: (?<threads>[ -~]{1,200})$", RegexOptions.CultureInvariant | RegexOptions.Multiline)]
    private static partial Regex ThreadsLine();
}
