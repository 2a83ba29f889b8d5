using System.Globalization;
using System.Text;

namespace Vmsweep.Rigs.Xen;

/// <summary>A way in which calls fail, for some of them.</summary>
internal sealed record XenArmed(string Method, string Action)
{
    public int Times { get; set; }

    public int Skip { get; set; }

    public bool Takes(string method)
    {
        if (method != Method || Times == 0)
        {
            return false;
        }

        if (Skip > 0)
        {
            Skip--;
            return false;
        }

        Times--;
        return true;
    }
}

/// <summary>What a server does to a client.</summary>
internal static class XenFaults
{
    /// <summary>Long enough for any client's patience in tests.</summary>
    private static readonly TimeSpan Hang = TimeSpan.FromSeconds(30);

    /// <summary>Instead of the call.</summary>
    /// <returns>True where the client has had its answer.</returns>
    public static bool Before(string action, Stream stream)
    {
        string[] parts = action.Split(':');
        switch (parts[0])
        {
            case "status":
                XenHttp.Answer(stream, int.Parse(parts[1], CultureInfo.InvariantCulture), "<html><body>no</body></html>", "retry-after: 0\r\n");
                return true;
            case "close":
                throw new IOException("closed");
            case "hang":
                Thread.Sleep(Hang);
                throw new IOException("closed");
            case "garbage":
                XenHttp.Answer(stream, 200, "<methodResponse/>");
                return true;
            case "list":
                XenHttp.Answer(stream, 200, "[1, 2, 3]");
                return true;
            case "deep":
                XenHttp.Answer(stream, 200, string.Concat(Enumerable.Repeat("{\"result\":", 5000)));
                return true;
            case "endless":
                stream.Write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"result\":\""u8);
                byte[] much = Encoding.ASCII.GetBytes(new string('a', 1 << 20));
                while (true)
                {
                    stream.Write(much);
                }

            case "lie":
                stream.Write("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\nconnection: close\r\n\r\n{\"jsonrpc\""u8);
                throw new IOException("closed");
            default:
                return false;
        }
    }

    /// <summary>After it was carried out.</summary>
    public static void After(string action)
    {
        if (action == "lost")
        {
            throw new IOException("closed");
        }
    }

    /// <summary>A task that takes its time.</summary>
    public static void Slow(string action)
    {
        if (action.StartsWith("delay:", StringComparison.Ordinal))
        {
            Thread.Sleep(int.Parse(action[6..], CultureInfo.InvariantCulture));
        }
    }
}
