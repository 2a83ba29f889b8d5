namespace Vmsweep.Golden;

/// <summary>
/// The kernel lets go of a loop device some time after umount has returned, when whoever looked at the device meanwhile has closed it. Until then
/// its last writes may not be in the image, and another mount of the image finds it busy.
/// </summary>
public static class LoopDevices
{
    /// <summary>
    /// For a shell that begins in a mount namespace of its own and stays: other tests' mounts, which it has copies of, would hold their devices for as long.
    /// </summary>
    public const string LetGo = """{ awk '$1 ~ "^/dev/loop" && $2 ~ "/vmsweep-test-" { print $2 }' /proc/self/mounts | xargs -r -n 1 umount --lazy; } || true""";

    private static readonly TimeSpan Step = TimeSpan.FromMilliseconds(50);

    /// <summary>Four minutes: where a machine stalls, or another mount namespace still has the mount, it takes long; what is read before is an image in the middle of its log.</summary>
    private const int MostSteps = 4800;

    /// <summary>Waits until no device that is about to go, and is not mounted, lies on a file whose path begins so.</summary>
    public static void WaitUntilReleased(string path)
    {
        for (int i = 0; i < MostSteps && IsHeld(path); i++)
        {
            Thread.Sleep(Step);
        }
    }

    private static bool IsHeld(string path)
    {
        string[] mounted = [.. File.ReadLines("/proc/mounts").Select(l => l.Split(' ')[0])];
        return Directory.GetDirectories("/sys/block", "loop*").Any(device =>
            Read(device, "autoclear") == "1"
            && Read(device, "backing_file").StartsWith(path, StringComparison.Ordinal)
            && !mounted.Contains("/dev/" + Path.GetFileName(device)));
    }

    private static string Read(string device, string name)
    {
        try
        {
            return File.ReadAllText(Path.Combine(device, "loop", name)).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No file lies under it, or no longer.
            return "";
        }
    }
}
