using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Collects where executable contents are, for the store of results. Safe for many threads.</summary>
internal sealed class SeenContents(Action<SeenEvent> send)
{
    /// <summary>Characters of all paths together.</summary>
    private const long MostText = 32 << 20;

    private readonly Lock _lock = new();
    private List<SeenContent> _open = [];
    private int _count;
    private long _text;
    private long _leftOut;

    /// <summary>True for contents that a processor or an interpreter runs, by their first bytes or by their name.</summary>
    public static bool IsExecutable(ReadOnlySpan<byte> bytes, string path)
    {
        if (bytes.IsEmpty)
        {
            return false;
        }

        if (FileTypes.Of(bytes) is "EXE" or "ELF" or "MACHO" or "SCRIPT" or "DEX" or "CLASS" or "PHP" || Executables.KindOf(bytes) is not null)
        {
            return true;
        }

        int slash = path.LastIndexOf('/');
        int dot = path.LastIndexOf('.');
        return dot > slash && path.Length - dot <= 6 && path[(dot + 1)..].ToLowerInvariant() is
            "ps1" or "psm1" or "psd1" or "bat" or "cmd" or "vbs" or "vbe" or "js" or "jse" or "wsf" or "wsh" or "hta" or "sct" or "py" or "pyc" or "pl" or "rb" or "lua" or "sh" or "php" or "phtml"
            or "jsp" or "jspx" or "asp" or "aspx" or "ashx" or "jar" or "war" or "apk" or "lnk" or "scr" or "msi" or "msp" or "inf" or "reg" or "chm" or "url" or "com" or "sys" or "ko";
    }

    public void Add(string path, long sizeBytes, byte[] sha256)
    {
        SeenEvent? full = null;
        lock (_lock)
        {
            // A guest chooses its paths, and what a worker says is bounded: long ones must not cost the disk its scan.
            if (_count == SeenContent.MostOfMachine || _text > MostText)
            {
                _leftOut++;
                return;
            }

            _count++;
            _text += path.Length;
            _open.Add(new SeenContent(sha256, sizeBytes, path.Length <= SeenContent.MostPath ? path : path[..SeenContent.MostPath]));
            if (_open.Count == SeenEvent.MostContents)
            {
                (full, _open) = (new SeenEvent(_open, 0), []);
            }
        }

        if (full is not null)
        {
            send(full);
        }
    }

    public void Flush() => send(new SeenEvent(_open, _leftOut));
}
