using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>Exit statuses of the contract.</summary>
internal static class ExitStatus
{
    public const int Clean = 0;
    public const int Detected = 1;
    public const int CannotRun = 2;
    public const int Incomplete = 3;

    public static int Of(Report report) => report.Verdict switch
    {
        "detected" => Detected,
        "incomplete" => Incomplete,
        _ => Clean,
    };
}
