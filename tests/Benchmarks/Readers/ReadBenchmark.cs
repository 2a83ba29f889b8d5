using Vmsweep.Benchmarks.Measuring;

namespace Vmsweep.Benchmarks.Readers;

/// <summary><c>vmsweep read</c> against <c>qemu-img convert</c>, image by image, into nowhere; and chains against one layer.</summary>
internal static class ReadBenchmark
{
    /// <summary>QEMU's null driver takes what it is given, as /dev/null does.</summary>
    private const string QemuToNull =
        """
        format=$2; size=$(qemu-img info --output=json -f "$format" "$1" | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p' | tail -n 1)
        qemu-img convert -n -f "$format" --target-image-opts "$1" "driver=null-co,size=$size"
        """;

    /// <summary>True when the contents are equal.</summary>
    public static bool Run(ReaderImages images, int rounds)
    {
        string launcher = Path.Combine(Repository.Root, "vmsweep");
        bool equal = true;
        Console.WriteLine("\nread: whole disks to /dev/null, page cache warm");
        foreach ((string name, string path) in images.All)
        {
            string format = Path.GetExtension(path) switch { ".img" => "raw", ".vhd" => "vpc", var extension => extension[1..] };
            Rounds costs = Rounds.Run(
            [
                new($"qemu-img convert, {name}", [path], () => Measured.Script(QemuToNull, [path, format])),
                new($"vmsweep read, {name}", [path], () => Read(launcher, path)),
            ], rounds);
            costs.Print($"qemu-img convert, {name}");
            bool same = Measured.Script("cmp <(\"$1\" read \"$2\") <(qemu-img convert -f \"$3\" -O raw \"$2\" \"$2.raw\" && cat \"$2.raw\"); rm \"$2.raw\"", [launcher, path, format], 1).Status == 0;
            Console.WriteLine($"  {name}: contents {(same ? "equal" : "DIFFERENT")}");
            equal &= same;
        }

        Console.WriteLine("\nread: ten layers against one of the same content");
        foreach ((string chain, string one) in images.Chains)
        {
            Rounds costs = Rounds.Run(
            [
                new("one layer", [one], () => Read(launcher, one)),
                new("ten layers", [chain], () => Read(launcher, chain)),
            ], rounds);
            Console.WriteLine("  " + Path.GetExtension(chain)[1..]);
            costs.Print("one layer");
        }

        return equal;
    }

    private static Cost Read(string launcher, string path) => Measured.Script("\"$1\" read \"$2\" > /dev/null", [launcher, path]);
}
