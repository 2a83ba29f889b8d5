using System.Globalization;
using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.ClamAv;

/// <summary>What <c>clamd</c> says of a content. Only the one text that says so means that it was scanned whole and nothing was found.</summary>
internal static class ClamdAnswer
{
    private const string Prefix = "stream: ";
    private const string Found = " FOUND";
    private const string Error = " ERROR";
    private const string LimitName = "Heuristics.Limits.Exceeded";
    private const string UnofficialSuffix = ".UNOFFICIAL";
    private const int MostNameLength = 256;
    private const int MostQuoted = 200;

    /// <summary>Null when it is clean or something was found, which is then added to <paramref name="found"/>.</summary>
    public static MatchFault? Read(string answer, int contentBytes, List<Detection> found)
    {
        if (answer == "stream: OK")
        {
            return null;
        }

        if (answer.StartsWith(Prefix, StringComparison.Ordinal) && answer.EndsWith(Found, StringComparison.Ordinal) && answer.Length > Prefix.Length + Found.Length)
        {
            string name = WithoutDetails(answer[Prefix.Length..^Found.Length]);
            if (name.StartsWith(LimitName, StringComparison.Ordinal))
            {
                return Fault(MatchFaultKind.Limit, $"clamd did not scan it whole: {Quoted(name)}");
            }

            found.Add(DetectionOf(name));
            return null;
        }

        if (answer.StartsWith("INSTREAM size limit exceeded", StringComparison.Ordinal))
        {
            return Fault(MatchFaultKind.Limit, string.Create(CultureInfo.InvariantCulture, $"{contentBytes} bytes are over clamd's StreamMaxLength"));
        }

        if (answer.EndsWith(Error, StringComparison.Ordinal))
        {
            string said = Quoted(answer);
            MatchFaultKind kind = answer.Contains("limit", StringComparison.OrdinalIgnoreCase) || answer.Contains("too large", StringComparison.OrdinalIgnoreCase) ? MatchFaultKind.Limit
                : answer.Contains("tim", StringComparison.OrdinalIgnoreCase) && answer.Contains("out", StringComparison.OrdinalIgnoreCase) ? MatchFaultKind.Timeout
                : MatchFaultKind.Engine;
            return Fault(kind, $"clamd says: {said}");
        }

        return Fault(MatchFaultKind.Engine, $"clamd's answer is not understood: {Quoted(answer)}");
    }

    public static MatchFault Fault(MatchFaultKind kind, string detail) => new(kind, ClamdEngine.EngineName, "", detail);

    /// <summary>At most a line of what the daemon said.</summary>
    public static string Quoted(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (char c in text.AsSpan(0, Math.Min(text.Length, MostQuoted)))
        {
            quoted.Append(char.IsControl(c) ? '?' : c);
        }

        return quoted.Append('"').ToString();
    }

    public static Detection DetectionOf(string name)
    {
        name = name.Length > MostNameLength ? name[..MostNameLength] : name;
        string origin = name.EndsWith(UnofficialSuffix, StringComparison.Ordinal) ? "unofficial" : "official";
        return new Detection(ClamdEngine.EngineName, name, origin, [], [], SeverityOf(name), [], 0);
    }

    /// <summary>ClamAV's names begin with what they are: possibly unwanted, a heuristic, or malware of a platform.</summary>
    private static Severity SeverityOf(string name) => name switch
    {
        _ when name.StartsWith("PUA.", StringComparison.OrdinalIgnoreCase) => Severity.Low,
        _ when name.Contains("eicar", StringComparison.OrdinalIgnoreCase) => Severity.Low,
        _ when name.StartsWith("Heuristics.", StringComparison.OrdinalIgnoreCase) => Severity.Medium,
        _ => Severity.High,
    };

    /// <summary>With <c>ExtendedDetectionInfo</c> the MD5 and the size follow the name.</summary>
    private static string WithoutDetails(string name)
    {
        int at = name.LastIndexOf('(');
        return at > 0 && name.EndsWith(')') && name.AsSpan(at + 1, 32 < name.Length - at - 1 ? 32 : 0).IndexOfAnyExceptInRange('0', 'f') < 0 && name.IndexOf(':', at) == at + 33 ? name[..at] : name;
    }
}
