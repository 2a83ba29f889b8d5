using System.Text;
using System.Text.RegularExpressions;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// An OVF manifest (<c>.mf</c>): a digest for each file of the package. Spec: DSP0243 2.1, section 6.2: <c>SHA256(name)= digest</c>; older
/// ones have SHA1, and VMware's a blank before the bracket.
/// </summary>
internal static partial class ManifestFile
{
    /// <summary>Some hundred bytes a file.</summary>
    public const int MostBytes = 4 << 20;

    /// <param name="bytes">The manifest.</param>
    /// <param name="unread">Told the number of each line that is neither empty nor a digest.</param>
    public static List<ManifestLine> Parse(ReadOnlySpan<byte> bytes, Action<int> unread)
    {
        List<ManifestLine> lines = [];
        int number = 0;
        foreach (string line in Encoding.UTF8.GetString(bytes).Split('\n'))
        {
            number++;
            string text = line.Trim('\uFEFF', '\r', ' ', '\t', '\0');
            Match match = Digest().Match(text);
            string algorithm = match.Groups["algorithm"].Value.Replace("-", "", StringComparison.Ordinal).ToUpperInvariant();
            string digest = match.Groups["digest"].Value;
            if (match.Success && digest.Length == BytesOf(algorithm) * 2)
            {
                lines.Add(new ManifestLine(number, algorithm, match.Groups["name"].Value, digest.ToLowerInvariant()));
            }
            else if (text.Length > 0)
            {
                unread(number);
            }
        }

        return lines;
    }

    private static int BytesOf(string algorithm) => algorithm switch
    {
        "SHA1" => 20,
        "SHA256" => 32,
        "SHA384" => 48,
        _ => 64,
    };

    [GeneratedRegex(@"^(?<algorithm>SHA-?(1|256|384|512))\s*\((?<name>[^\r\n]+)\)\s*=\s*(?<digest>[0-9A-F]+)$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Digest();
}

/// <param name="Line">From 1.</param>
/// <param name="Algorithm"><c>SHA1</c>, <c>SHA256</c>, <c>SHA384</c> or <c>SHA512</c>.</param>
/// <param name="Name">The file, as an href.</param>
/// <param name="Digest">In lower-case hexadecimal.</param>
internal sealed record ManifestLine(int Line, string Algorithm, string Name, string Digest);
