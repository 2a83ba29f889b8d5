using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Vmsweep.Golden;

/// <summary>A real <c>clamd</c> with a configuration, a socket and a small database of its own.</summary>
public sealed class ClamdServer : IDisposable
{
    public const string NdbMarker = "MARKER-clam-ndb";
    public const string PuaMarker = "MARKER-clam-pua";
    public const string HashedContent = "content that a hash signature knows";
    public const string LogicalContent = "LOGIC-one and LOGIC-two";

    /// <summary>The file that clamav-testfiles packs in many ways.</summary>
    public const string TestFile = "/usr/share/clamav-testfiles/clam.exe";

    private readonly Scratch _scratch = new();
    private Process? _process;

    /// <param name="settings">Lines of <c>clamd.conf</c>.</param>
    public ClamdServer(params IEnumerable<string> settings)
    {
        byte[] test = File.ReadAllBytes(Tool.Find(TestFile));
        Directory.CreateDirectory(DatabaseFolder);
        Directory.CreateDirectory(_scratch["tmp"]);
        File.WriteAllLines(Path.Combine(DatabaseFolder, "t.ndb"), [$"Test.Marker.A:0:*:{Hex(NdbMarker)}", $"PUA.Test.Marker:0:*:{Hex(PuaMarker)}"]);
        File.WriteAllLines(Path.Combine(DatabaseFolder, "t.hdb"), [HashLine(System.Text.Encoding.ASCII.GetBytes(HashedContent), "Test.Hash.B"), HashLine(test, "Test.Clam")]);
        File.WriteAllText(Path.Combine(DatabaseFolder, "t.ldb"), $"Test.Logic.C;Engine:81-255,Target:0;0&1;{Hex("LOGIC-one")};{Hex("LOGIC-two")}\n");
        File.WriteAllLines(_scratch["clamd.conf"],
        [
            "Foreground yes", $"LocalSocket {Socket}", $"DatabaseDirectory {DatabaseFolder}", $"TemporaryDirectory {_scratch["tmp"]}", .. settings,
        ]);
    }

    public string Socket => _scratch["clamd.ctl"];

    public string DatabaseFolder => _scratch["db"];

    /// <summary>Starts it, and waits until it takes connections.</summary>
    public ClamdServer Start()
    {
        string clamd = Tool.Find("clamd");
        _process = Process.Start(new ProcessStartInfo("bash", ["-c", $"exec '{clamd}' -c '{_scratch["clamd.conf"]}' >'{_scratch["log"]}' 2>&1"]))!;
        for (long start = Stopwatch.GetTimestamp(); ;)
        {
            try
            {
                using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                socket.Connect(new UnixDomainSocketEndPoint(Socket));
                return this;
            }
            catch (SocketException) when (!_process.HasExited && Stopwatch.GetElapsedTime(start) < TimeSpan.FromMinutes(2))
            {
                Thread.Sleep(50);
            }
            catch (SocketException)
            {
                throw new InvalidOperationException($"clamd does not start: {File.ReadAllText(_scratch["log"])}");
            }
        }
    }

    /// <summary>Ends it at once, as a crash would.</summary>
    public void Kill()
    {
        if (_process is { } process)
        {
            process.Kill();
            process.WaitForExit();
            process.Dispose();
            _process = null;
        }
    }

    /// <summary>Stops it from doing anything, or lets it go on.</summary>
    public void Freeze(bool isFrozen) => Tool.Run("kill", isFrozen ? "-STOP" : "-CONT", _process!.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));

    public void Dispose()
    {
        Kill();
        _scratch.Dispose();
    }

    private static string Hex(string text) => Convert.ToHexStringLower(System.Text.Encoding.ASCII.GetBytes(text));

#pragma warning disable CA5351 // The form of the database.
    private static string HashLine(byte[] content, string name) => $"{Convert.ToHexStringLower(MD5.HashData(content))}:{content.Length}:{name}";
#pragma warning restore CA5351
}
